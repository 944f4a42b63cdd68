"""The costs that a load run measured: ratios with their intervals, the rows of the CSVs, and the tables."""
