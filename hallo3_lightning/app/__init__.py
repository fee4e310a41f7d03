"""The page of `hallo3 app`: it types `hallo3 animate` for its user, and shows what comes of it."""
