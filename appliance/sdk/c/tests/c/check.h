#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir.h"

/* Ends the program unless `holds`, with what the library had to say. */
#define CHECK(holds)                                                                                   \
    do {                                                                                               \
        if (!(holds)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold; weir_last_error: \"%s\"\n", __FILE__, __LINE__, \
                    #holds, weir_last_error());                                                        \
            exit(1);                                                                                   \
        }                                                                                              \
    } while (0)

/* Ends the program unless `call` fails with `number` and a text that has `word` in it. */
#define FAILS(call, number, word)                               \
    do {                                                        \
        CHECK((call) == -(number));                             \
        CHECK(strstr(weir_last_error(), word) != NULL);         \
        CHECK(strchr(weir_last_error(), '\n') == NULL);         \
        CHECK(strstr(weir_last_error(), "; ") != NULL);         \
    } while (0)

#endif
