"""make rollout: two versions behind one balancer, and the change of a signing key, under real workers."""
