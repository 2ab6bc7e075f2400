#define BUG 0
