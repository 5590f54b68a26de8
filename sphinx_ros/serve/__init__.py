"""One model for many: an HTTP server, its page, and what stands behind it."""
