"""HTML pages: API documentation, a page for every error code, and pages for links in mails.

Owns: templates and their assets, each with a content security policy of its own. Loads nothing from elsewhere.
"""
