"""The papers' own tables, their laws, and their sentences held against their numbers. Never imports torch."""
