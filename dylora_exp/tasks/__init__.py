"""What is learned and scored. A reader is a module with ``read(TaskConfig) -> TaskData``."""
