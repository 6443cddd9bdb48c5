"""Runner processes as the server sees them: how one lives, how one is asked, why one died."""
