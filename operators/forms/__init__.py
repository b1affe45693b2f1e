"""Parts of forms: fields, settings, edits."""
