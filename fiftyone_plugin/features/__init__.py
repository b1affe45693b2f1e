"""Features of images: the stream that methods read, and the store on disk behind it."""
