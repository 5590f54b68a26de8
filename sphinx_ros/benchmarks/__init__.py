"""Data sets of the field: files -> questions with known answers, and what answers are worth."""
