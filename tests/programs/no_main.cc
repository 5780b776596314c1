// Is a program without main() told so?
// refused: this program has no main()

int not_main() { return 0; }
