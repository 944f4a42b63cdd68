"""What a load run came to: ratios with their intervals, the rows of the CSVs, and the tables that show them."""
