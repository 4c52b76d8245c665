"""The review inbox: scores that rank it, and files of corrected masks."""
