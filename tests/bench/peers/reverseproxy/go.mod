module reverseproxy

go 1.26
