"""The door: whose key it is, what it opens, how much and how slowly anybody may send."""
