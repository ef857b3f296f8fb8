"""Rollouts: answers sampled from a policy, with what training needs to know of each token."""
