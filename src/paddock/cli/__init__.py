"""The command line: an HTTP client of the server."""
