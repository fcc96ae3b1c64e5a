module credlet.io/tests/node/asker

go 1.26
