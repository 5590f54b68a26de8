"""The SPHINX network in PyTorch: tensors in, tensors out. No strings, no files, no ROS."""
