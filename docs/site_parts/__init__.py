"""What the site needs and Sphinx lacks; docs/conf.py says which parts are used.

command_line.py  the directive `command-line`: each command's `--help`
http_routes.py   the directive `http-routes`: what the proxy's own OpenAPI description says
inventories.py   names of other projects, also where their lists cannot be reached
links.py         links that lead out of docs/
llms.py          llms.txt, the site's contents for programs
"""
