"""`hallo3 report`: a grid's answer as one page of HTML that needs nothing beside itself.

contents.py gathers what stands on the page, one file a section; page.py makes HTML of it with the files in template/.
"""
