#define BUG 1
