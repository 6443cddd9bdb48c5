"""What the server tells of its own routes: an OpenAPI document, a page of it, and the table of fields."""
