"""Are the lab's states as good as the stores of upstream that they replace, and what do they cost?"""
