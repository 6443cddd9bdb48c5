"""Who runs, who waits, who leaves."""
