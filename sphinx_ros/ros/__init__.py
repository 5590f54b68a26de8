"""SPHINX as a ROS 2 node. Only modules in here import rclpy."""
