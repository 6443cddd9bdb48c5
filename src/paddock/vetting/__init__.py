"""Reads the files of a model without trusting them: the server before it stores one, a runner before it loads one.

Both must come to the same decision, so both ask here. Nothing in this room runs, imports or allocates what a file
says; every refusal is an `InvalidModelFiles` in one sentence that names the file and the reason.
"""
