module example.com/my-connector

go 1.24
