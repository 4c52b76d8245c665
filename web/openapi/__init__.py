"""The description of the API (OpenAPI 3.1), made from the routes and from what is said about each here.

A new route gets an Operation in the file of its resource; tests/web/test_openapi.py fails for one without.
"""
