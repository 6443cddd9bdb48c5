"""HTTP in, HTTP out: every dialect becomes one internal request."""
