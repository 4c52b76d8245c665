"""What a process reports about itself. Imports no other package of Segue, so each of them may use it."""
