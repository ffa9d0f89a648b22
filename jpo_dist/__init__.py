"""Joint Preference Optimization (Bansal et al., arXiv 2404.00530): items, comparisons, scores, margins, training."""
