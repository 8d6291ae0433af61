/* octetd. Everything is in server_main(), so that tests can run it with shorter deadlines. */
#include "server/server.h"

int main(int argc, char **argv)
{
    struct http_limits limits = http_limits_default();

    return server_main(argc, argv, &limits);
}
