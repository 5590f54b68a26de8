"""Pixels: camera bytes into RGB arrays, and RGB arrays into the model's square."""
