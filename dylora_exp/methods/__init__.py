"""What is trained. A method is a module with a class ``Method`` (see ``base``) and a YAML file."""
