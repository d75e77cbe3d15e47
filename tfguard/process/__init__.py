"""Front, keeper, sentinel, child: who may be killed, who holds, who watches."""
