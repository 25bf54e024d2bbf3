"""The query language: its words, the values of its terms, and which terms go together."""
