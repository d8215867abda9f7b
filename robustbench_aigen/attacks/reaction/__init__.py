"""How ``auto`` reacts to a detector that hides its gradients, or answers at random."""
