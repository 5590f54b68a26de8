"""Recordings of robots: pictures out of bags, answers as the node gives them into bags.

Imports no rclpy.
"""
