"""Teaching a checkpoint what its user has: pictures with answers in, an adapter out.

And labels for such pictures, by the checkpoint's own answers. Imports no rclpy.
"""
