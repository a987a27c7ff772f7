//! Backups, told as stories.
