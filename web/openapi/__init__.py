"""The OpenAPI 3.1 description, generated from the routes and from the Operations in this package.

Add an Operation for each new route to the file of its resource; tests/web/test_openapi.py requires
it.
"""
