#error "the test of a script is no script"
