"""GET a URL: the status and the body."""

import sys
import urllib.error
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[1]) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
