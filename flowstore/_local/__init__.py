"""What storages in files share with the other processes of one machine."""
