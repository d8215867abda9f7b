"""The leaderboard: cards of benchmark runs, their verification, and one page of all of them."""
