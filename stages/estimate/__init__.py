"""What a run will take, before it starts (`referee estimate`)."""
