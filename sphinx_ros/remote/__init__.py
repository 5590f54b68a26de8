"""The model elsewhere: what goes over HTTP, and the client's side of it. Imports no torch."""
