"""What makes container managers use a set: drop-ins, a RuntimeClass, annotations."""
