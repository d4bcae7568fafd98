"""What all rooms use: files that are whole or not there, YAML, names, memory, processes, a line of status."""
